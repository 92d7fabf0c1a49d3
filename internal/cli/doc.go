// Package cli is the argosy command: it parses arguments, asks a server, and shows the answer.
//
// Every command is a small function over a [connection]; what it prints goes through [printer], which writes a table for
// people or JSON for programs. A command fails by returning an error: [Main] prints it once, as a sentence, and turns it
// into the exit code. Package cli is quick to load: what is not is in [Rooms], and a command that finds none there hands its
// arguments over to argosyd, which has them.
//
//	exit 0   done
//	exit 1   it failed; the sentence on standard error says why and what to do
//	exit 2   `argosy plan` found something to do, `argosy diff` a difference
//	exit 3   `--wait` or `argosy wait` ran out of time
//	exit 64  the command line was wrong
package cli
