// Package fleetapi speaks fleet's HTTP API, version 1, for those who have fleet's client or programs written for it. It translates
// and keeps nothing: what it is asked for, it asks of [Cluster], which is argosy.v1 as any client sees it.
//
//	for each request {
//		GET     units, units/NAME     → ListUnits
//		PUT     units/NAME            → SubmitUnit when it has options that differ, else SetUnitGoal
//		DELETE  units/NAME            → DeleteApp
//		GET     state, state/NAME     → ListUnits
//		GET     machines              → ListMachines
//		PATCH   machines              → LabelMachine
//		GET     discovery
//	}
//
// below /fleet/v1/ and, as fleet did at first, /v1-alpha/. What is said and answered is what fleet's Documentation/api-v1.md
// has, and where fleet itself did something else, what its client needs:
//
//   - A unit's options come back in the order and with the values that were given, since clients hash them.
//   - A unit that is known has a state, even when no machine has the unit.
//   - A unit of every machine (Global) has neither a machine nor a current state.
//   - `launched` means that systemd was handed the unit; how it does is said by its state.
//   - New metadata is taken as `{"value": "x"}`, as documented, and as `{"value": {"value": "x"}}`, as fleet took it.
//
// What fleet took and could not mean anything is refused: a state that does not exist, a template that is to run.
package fleetapi
