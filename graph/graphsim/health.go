package graphsim

// health will be the slow and drop states of an endpoint.
type health struct{}
