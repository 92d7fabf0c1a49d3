// Package storetest is the conformance suite of [store.Store]: what one store passes and another does not would make
// tests in memory say nothing about a cluster.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Subject { … })
//	}
package storetest
