// Package graphsim is a simulated Microsoft 365 tenant over real HTTPS: its login service, as much of
// Graph as presence needs, and its people. It is the other side's view, written from Microsoft's
// documentation alone: it shares no parsing and no crypto with the packages that talk to Graph, so
// that a mistake made there is not made here too. It is cruel on request.
package graphsim
