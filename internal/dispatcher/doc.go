// Package dispatcher keeps the machines' sessions.
package dispatcher
