package core

import (
	"fmt"
	"slices"
	"time"
)

// Image is an image that the agent brought to the machine.
type Image struct {
	Reference string
	Size      int64
	// UsedAt is when a member last needed it.
	UsedAt time.Time
}

// Collection is what deciding about images looks at.
type Collection struct {
	Images []Image
	// Needed are references that an assignment or a container names.
	Needed map[string]bool
	// Disk that holds images, in bytes. Total 0 means not known.
	DiskTotal, DiskUsed int64
}

// Bounds of a collection.
const (
	// ImageAge is how long an image that nothing needs is kept.
	ImageAge = 7 * 24 * time.Hour
	// DiskHigh and DiskLow are shares of the disk, in percent: above the first, images that nothing needs go, least recently
	// used first, until the second is reached.
	DiskHigh, DiskLow = 85, 75
	// ImageRest keeps what was needed a moment ago: the next revision may want it again.
	ImageRest = 5 * time.Minute
)

// Removal is an image to be removed, and why.
type Removal struct {
	Reference string
	Reason    string
}

// DecideCollection says which images to remove. Only images that the agent brought itself are ever named.
func DecideCollection(now time.Time, c Collection) []Removal {
	images := slices.Clone(c.Images)
	slices.SortStableFunc(images, func(a, b Image) int { return a.UsedAt.Compare(b.UsedAt) })
	var list []Removal
	used := c.DiskUsed
	full := c.DiskTotal > 0 && percent(used, c.DiskTotal) >= DiskHigh
	for _, img := range images {
		age := now.Sub(img.UsedAt)
		switch {
		case c.Needed[img.Reference]:
			continue
		case age >= ImageAge:
			list = append(list, Removal{img.Reference, fmt.Sprintf("not needed for %d days", int(age.Hours()/24))})
		case full && age >= ImageRest && percent(used, c.DiskTotal) > DiskLow:
			list = append(list, Removal{img.Reference, fmt.Sprintf("the disk is %d %% full and nothing needs it", percent(c.DiskUsed, c.DiskTotal))})
		default:
			continue
		}
		used -= img.Size
	}
	return list
}

func percent(part, whole int64) int { return int(float64(part) / float64(whole) * 100) }
