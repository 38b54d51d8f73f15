// Package cluster shows several replicas of the bridge on a cluster of three NATS servers: owners that are killed,
// halted and cut off, and servers that die one after another. It consists of tests; every server and every replica
// with the role engine is a process of its own.
package cluster
