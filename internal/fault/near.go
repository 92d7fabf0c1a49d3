package fault

import "strings"

// longestNear bounds words that are compared, in bytes.
const longestNear = 64

// Nearest is the candidate with the smallest edit distance to a mistyped word, or "" when none is near.
func Nearest(word string, candidates []string) string {
	const most = 4096
	if word == "" || len(word) > longestNear {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	if len(word) < 3 {
		bestDistance = 2
	}
	for _, c := range candidates[:min(len(candidates), most)] {
		if len(c) > longestNear || c == word || c == "" {
			continue
		}
		d := distance(lower, strings.ToLower(c), bestDistance+1)
		if d < bestDistance || (d == bestDistance && best != "" && c < best) {
			best, bestDistance = c, d
		}
	}
	// A word of one or two letters is near to almost everything.
	if bestDistance >= len(word) && !strings.EqualFold(word, best) {
		return ""
	}
	return best
}

// distance is the number of letters to change, add, drop or swap with their neighbour to turn a into b, or limit when
// it is not below that.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	var rows [3][longestNear + 1]int
	before, prev, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}
