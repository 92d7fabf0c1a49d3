package fleetapi

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
)

// pageSize is how many entities a page has.
const pageSize = 100

// page is the number of the page that is asked for, from 1 on. A token is, as fleet's, the size of pages and the number of one,
// 16 bits each.
func page(r *http.Request) (uint16, error) {
	tokens := r.URL.Query()["nextPageToken"]
	switch len(tokens) {
	case 0:
		return 1, nil
	case 1:
	default:
		return 0, badRequest("too many values of nextPageToken")
	}
	b, err := base64.URLEncoding.DecodeString(tokens[0])
	if err != nil || len(b) != 4 {
		return 0, badRequest("invalid value of nextPageToken: take it from the page before")
	}
	size, number := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	if size != pageSize || number == 0 {
		return 0, badRequest("invalid value of nextPageToken: pages have %d entities and are counted from 1", pageSize)
	}
	return number, nil
}

// token is what leads to the page after page n; empty when more is false, or nothing can be counted any further.
func token(n uint16, more bool) string {
	if !more || n == math.MaxUint16 {
		return ""
	}
	b := binary.LittleEndian.AppendUint16(nil, pageSize)
	return base64.URLEncoding.EncodeToString(binary.LittleEndian.AppendUint16(b, n+1))
}

// part is the nth page of all there is.
func part[T any](all []T, n uint16) (items []T, next string) {
	from := min(len(all), (int(n)-1)*pageSize)
	to := min(len(all), from+pageSize)
	return all[from:to], token(n, to < len(all))
}
