// Package archtest holds the tests about the repository as a whole: which package may import which, the
// conventions that every package keeps, and that the files under deploy/ fit the program and one another.
package archtest
