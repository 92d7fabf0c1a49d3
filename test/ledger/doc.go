// Package ledger shows whether a volume ever had two writers, by what they wrote. It knows nothing of Argosy.
//
//	writer -file /data/ledger -observer 172.30.0.1:9999      appends a Record every few milliseconds, and tells each that is on the disk
//	records, err := ledger.Read(file)                        what is in the file at the end
//	faults := ledger.Judge(records, told)                    what cannot be if one wrote after another, and nothing was lost
//	err := ledger.Linearizable(records, told, time.Minute)   the same with Porcupine, as a history of operations, when each was told counted
//
// A record says with which token and by which process it was written, the how manieth it is, and when, by CLOCK_BOOTTIME: machines in
// containers share a kernel and so that clock. What the observer was told is what a client of a database would call committed.
package ledger
