package database

import (
	"encoding/json"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Image is an image that this agent pulled.
type Image struct {
	Reference string
	ImageID   string
	Size      int64
	PulledAt  time.Time
	UsedAt    time.Time
}

// Pulled keeps that the agent brought an image here, or that one it had brought was used.
func (d *DB) Pulled(img Image) error {
	return d.update("keep an image", func(tx *bolt.Tx) error {
		raw, err := json.Marshal(img)
		if err != nil {
			return err
		}
		return tx.Bucket(bucketImages).Put([]byte(img.Reference), raw)
	})
}

// Used notes that images were in use at a time; references that the agent did not pull are passed over.
func (d *DB) Used(at time.Time, references []string) error {
	return d.update("note images in use", func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketImages)
		for _, ref := range references {
			var img Image
			raw := b.Get([]byte(ref))
			if raw == nil {
				continue
			}
			if err := json.Unmarshal(raw, &img); err != nil {
				return err
			}
			img.UsedAt = at
			raw, err := json.Marshal(img)
			if err != nil {
				return err
			}
			if err := b.Put([]byte(ref), raw); err != nil {
				return err
			}
		}
		return nil
	})
}

// Images lists the images that the agent pulled and has not removed.
func (d *DB) Images() (list []Image, err error) {
	err = d.view("read images", func(tx *bolt.Tx) error {
		return tx.Bucket(bucketImages).ForEach(func(_, raw []byte) error {
			var img Image
			if err := json.Unmarshal(raw, &img); err != nil {
				return err
			}
			list = append(list, img)
			return nil
		})
	})
	return list, err
}

// ForgetImage forgets an image that was removed.
func (d *DB) ForgetImage(reference string) error {
	return d.update("forget an image", func(tx *bolt.Tx) error { return tx.Bucket(bucketImages).Delete([]byte(reference)) })
}
