package volume

import (
	"strings"
	"testing"
)

func at(generation, revision uint64) Token { return Token{Generation: generation, Revision: revision} }

func TestMark(t *testing.T) {
	m := Mark{"default/shop/db.1/data", "0a1b2c3d-0a1b-4c3d-8e5f-0a1b2c3d4e5f", at(1, 4711)}
	if got, err := ParseMark(m.Encode()); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseMark([]byte(`{"volume": "default/shop/db.1/data", "later": [1]}`)); err != nil || got.Token != (Token{}) {
		t.Errorf("written by hand: %+v, %v", got, err)
	}
	for _, s := range []string{"", "{}", "null", "[]", `{"volume": "x"}`, `{"volume": 7}`, `{"volume": "default/shop/db.1/data", "token": "x"}`, `{"volume": "default/shop/db.1/data", "token": "1-18446744073709551615"}`, `{"volume": "../../../x"}`,
		`{"volume": "default/shop/db.1/data"} x`, strings.Repeat(" ", MaxMark) + "{}"} {
		if got, err := ParseMark([]byte(s)); err == nil {
			t.Errorf("%q is %+v", clip(s), got)
		}
	}
}

func TestJudge(t *testing.T) {
	const u, w = "0a1b2c3d-0a1b-4c3d-8e5f-0a1b2c3d4e5f", "1a1b2c3d-0a1b-4c3d-8e5f-0a1b2c3d4e5f"
	c := Claim{Volume: Volume{Name: "default/shop/db.1/data"}, Token: at(1, 5)}
	used := c
	used.Volume.UUID = u
	own := func(t Token) *Mark { return &Mark{c.Volume.Name, u, t} }
	for _, tc := range []struct {
		name string
		c    Claim
		m    *Mark
		uuid string
		want Reason
	}{
		{"new", c, nil, u, 0},
		{"own", used, own(at(1, 4)), u, 0},
		{"own again", used, own(at(1, 5)), u, 0},
		{"own, after a restore", used, own(at(0, 9)), u, 0},
		{"later token", used, own(at(1, 6)), u, Overtaken},
		{"later generation", used, own(at(2, 1)), u, Overtaken},
		{"another volume's", c, &Mark{"default/blog/db.1/data", u, Token{}}, u, Foreign},
		{"mark is gone", used, nil, u, Foreign},
		{"another file system", used, own(at(1, 4)), w, Foreign},
		{"a copy of the files", c, own(at(1, 4)), w, Foreign},
		{"no UUID in such storage", used, own(at(1, 4)), "", 0},
		{"by hand", c, &Mark{Volume: c.Volume.Name}, u, 0},
	} {
		if err := tc.c.Judge(tc.m, tc.uuid); ReasonOf(err) != tc.want || (err == nil) != (tc.want == 0) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte(`{"volume": "default/shop/db.1/data", "uuid": "x", "token": "1-2"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMark(b); err == nil {
			if again, err := ParseMark(m.Encode()); err == nil && again.Volume != m.Volume {
				t.Errorf("%+v became %+v", m, again)
			}
		}
	})
}
