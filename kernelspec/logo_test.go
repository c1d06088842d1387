package kernelspec

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The logo is drawn here: a prompt and a kernel on a rounded square. The files
// in resources are made from it:
//
//	go test ./kernelspec -run TestLogo -update
var update = flag.Bool("update", false, "write the logo files")

// A shape covers the points whose distance to it is not positive. Coordinates
// go from 0 to 64.
type shape struct {
	color    color.RGBA
	svg      string
	distance func(x, y float64) float64
}

var (
	ground = color.RGBA{0x12, 0x3c, 0x4a, 0xff}
	prompt = color.RGBA{0xf2, 0xf5, 0xea, 0xff}
	seed   = color.RGBA{0xf4, 0xa2, 0x3b, 0xff}
	sun    = color.RGBA{0xf2, 0xc9, 0x2f, 0xff}
)

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// roundedSquare is the square from edge to 64-edge.
func roundedSquare(c color.RGBA, edge, radius float64) shape {
	half := 32 - edge - radius
	return shape{
		c, fmt.Sprintf(`<rect x="%g" y="%g" width="%g" height="%g" rx="%g" fill="%s"/>`, edge, edge, 64-2*edge, 64-2*edge, radius, hex(c)),
		func(x, y float64) float64 {
			dx, dy := math.Abs(x-32)-half, math.Abs(y-32)-half
			return math.Hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0) - radius
		},
	}
}

// line has round ends.
func line(c color.RGBA, x1, y1, x2, y2, width float64) shape {
	return shape{
		c, fmt.Sprintf(`<path d="M%g %gL%g %g" stroke="%s" stroke-width="%g" stroke-linecap="round"/>`, x1, y1, x2, y2, hex(c), width),
		func(x, y float64) float64 {
			dx, dy := x2-x1, y2-y1
			t := max(0, min(1, ((x-x1)*dx+(y-y1)*dy)/(dx*dx+dy*dy)))
			return math.Hypot(x-x1-t*dx, y-y1-t*dy) - width/2
		},
	}
}

func disc(c color.RGBA, cx, cy, r float64) shape {
	return shape{
		c, fmt.Sprintf(`<circle cx="%g" cy="%g" r="%g" fill="%s"/>`, cx, cy, r, hex(c)),
		func(x, y float64) float64 { return math.Hypot(x-cx, y-cy) - r },
	}
}

// logos are those of the languages, in different colors.
func logos() map[string][]shape {
	draw := func(ground, prompt, seed color.RGBA) []shape {
		return []shape{
			roundedSquare(ground, 2, 13),
			line(prompt, 15, 20, 27, 32, 6),
			line(prompt, 27, 32, 15, 44, 6),
			disc(seed, 44, 32, 9),
			disc(ground, 47, 29, 2.5),
		}
	}
	return map[string][]shape{"python": draw(ground, prompt, seed), "javascript": draw(sun, ground, prompt)}
}

func drawSVG(logo []shape) []byte {
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">` + "\n")
	for _, s := range logo {
		b.WriteString(s.svg + "\n")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func drawImage(logo []shape, size int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	scale := 64 / float64(size)
	for py := range size {
		for px := range size {
			var r, g, b, alpha float64 // not multiplied by alpha
			for _, s := range logo {
				d := s.distance((float64(px)+0.5)*scale, (float64(py)+0.5)*scale) / scale
				cover := max(0, min(1, 0.5-d))
				if cover == 0 {
					continue
				}
				total := cover + alpha*(1-cover)
				mix := func(old float64, c uint8) float64 {
					return (float64(c)*cover + old*alpha*(1-cover)) / total
				}
				r, g, b, alpha = mix(r, s.color.R), mix(g, s.color.G), mix(b, s.color.B), total
			}
			img.SetNRGBA(px, py, color.NRGBA{round(r), round(g), round(b), round(alpha * 255)})
		}
	}
	return img
}

func round(v float64) uint8 { return uint8(math.Round(v)) }

func TestLogo(t *testing.T) {
	for language, logo := range logos() {
		t.Run(language, func(t *testing.T) {
			if *update {
				writeLogo(t, language, logo)
			}
			testLogo(t, language, logo)
		})
	}
}

func testLogo(t *testing.T, language string, logo []shape) {
	svg, err := resources.ReadFile(path.Join(resourceDir, language, "logo-svg.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if want := drawSVG(logo); !bytes.Equal(svg, want) {
		t.Errorf("logo-svg.svg: got %q, want %q", svg, want)
	}
	for _, size := range []int{32, 64} {
		name := fmt.Sprintf("logo-%dx%d.png", size, size)
		data, err := resources.ReadFile(path.Join(resourceDir, language, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := drawImage(logo, size)
		if got.Bounds() != want.Bounds() {
			t.Fatalf("%s: got %v, want %v", name, got.Bounds(), want.Bounds())
		}
		for y := range size {
			for x := range size {
				if g, w := color.NRGBAModel.Convert(got.At(x, y)), want.At(x, y); g != w {
					t.Fatalf("%s at %d, %d: got %v, want %v", name, x, y, g, w)
				}
			}
		}
	}
}

func writeLogo(t *testing.T, language string, logo []shape) {
	t.Helper()
	files := map[string][]byte{"logo-svg.svg": drawSVG(logo)}
	for _, size := range []int{32, 64} {
		var b bytes.Buffer
		if err := png.Encode(&b, drawImage(logo, size)); err != nil {
			t.Fatal(err)
		}
		files[fmt.Sprintf("logo-%dx%d.png", size, size)] = b.Bytes()
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(resourceDir, language, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("the files are embedded in the next build")
}
