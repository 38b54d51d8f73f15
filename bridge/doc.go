// Package bridge keeps presence the same in Teams and on the PBX. Its heart is [Step], one pure function
// that folds an event into a member's [Record] and says which effects follow; [Engine] runs it for every
// member of one account, stores the record, carries out the effects and hands their answers back as events.
//
// The package knows neither NATS nor HTTP nor Graph nor a vendor: it declares the interfaces that it needs
// ([Store], [Feed], [Teams]) and meets a PBX through package pbx.
package bridge
