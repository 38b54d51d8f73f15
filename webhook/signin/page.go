package signin

import (
	"bytes"
	"html/template"
	"net/http"
)

// page is what a person gets to see.
type page struct{ Title, UPN, Text, Code string }

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}small{color:#555}</style></head>
<body>
<h1>{{.Title}}</h1>
{{with .UPN}}<p>Monitor: <b>{{.}}</b></p>
{{end}}{{with .Text}}<p>{{.}}</p>
{{end}}{{with .Code}}<p><small>Microsoft's code: {{.}}</small></p>
{{end}}</body>
</html>
`))

// show answers with a page that can do nothing: no script, no frame, no request to anywhere, and it is neither
// kept nor told to the next page where it came from, since its address holds a code.
func show(w http.ResponseWriter, status int, p page) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p); err != nil {
		body.Reset()
		body.WriteString(p.Title)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // whoever asked may be gone
}
