// The sequence of sequence.py by Go's net/http.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

type lines struct {
	left   int
	number int
	rest   []byte
}

func (l *lines) Read(into []byte) (int, error) {
	for len(l.rest) < len(into) && l.left > 0 {
		l.rest = fmt.Appendf(l.rest, "%08d\n", l.number)
		l.number++
		l.left--
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	count := copy(into, l.rest)
	l.rest = l.rest[count:]
	return count, nil
}

type task struct {
	Base, Counted, Token, Wrong, Text, Name string
	Many, Chunked, Large, Refused           int
}

var (
	job    task
	report = map[string]any{}
	client = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		ExpectContinueTimeout: 20 * time.Second, MaxIdleConnsPerHost: 8,
	}}
)

func target(base, what, name, at string) string {
	query := url.Values{"p": {name}, "c": {at}}
	return base + "/api/v2/" + what + "?" + query.Encode()
}

func ask(method, target, token string, body io.Reader, more ...string) *http.Response {
	request, err := http.NewRequest(method, target, body)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	for index := 0; index < len(more); index += 2 {
		request.Header.Set(more[index], more[index+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		log.Fatalf("%s %s: %v", method, target, err)
	}
	return answer
}

func read(answer *http.Response) []any {
	defer answer.Body.Close()
	hash := sha256.New()
	count, err := io.Copy(hash, answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	return []any{answer.StatusCode, count, hex.EncodeToString(hash.Sum(nil))}
}

func main() {
	log.SetFlags(0)
	if err := json.Unmarshal([]byte(os.Args[1]), &job); err != nil {
		log.Fatal(err)
	}
	first := "1.1.1/1.1.1/1.1.1"
	at := func(what string) string { return target(job.Base, what, job.Name, first) }
	get := func(where string) []any { return read(ask("GET", where, job.Token, nil)) }
	post := func(where string, body io.Reader, more ...string) []any {
		return read(ask("POST", where, job.Token, body, more...))
	}
	report["update"] = post(at("update"), strings.NewReader(job.Text))
	report["select"] = get(at("select"))
	report["insert"] = post(at("insert"), strings.NewReader("more"))
	report["inserted"] = get(at("select"))
	report["get"] = get(at("get"))
	report["delete"] = get(at("delete"))
	report["deleted"] = get(at("select"))
	kept := []any{}
	for range make([]struct{}, job.Many) {
		kept = append(kept, read(ask("GET", job.Counted+"/api/v2/version", job.Token, nil)))
	}
	report["kept"] = kept
	parallel := make([]any, 8)
	var group sync.WaitGroup
	for index := range parallel {
		group.Add(1)
		go func(index int) {
			defer group.Done()
			where := fmt.Sprintf("1.1.1/1.1.1/2.1.%d", index+1)
			text := fmt.Sprintf("text of %d", index)
			results := []any{}
			for range make([]struct{}, 3) {
				results = append(results, post(target(job.Base, "update", job.Name, where), strings.NewReader(text)))
				results = append(results, get(target(job.Base, "select", job.Name, where)))
			}
			parallel[index] = results
		}(index)
	}
	group.Wait()
	report["parallel"] = parallel
	large := job.Name + "-large"
	// A reader of unknown length is sent in chunks.
	report["chunked"] = post(target(job.Base, "update", large, first), &lines{left: job.Chunked})
	report["streamed"] = get(target(job.Base, "select", large, first))
	whole, _ := io.ReadAll(&lines{left: job.Large})
	report["large"] = post(target(job.Base, "update", large, first), bytes.NewReader(whole))
	report["downloaded"] = get(target(job.Base, "get", large, first))
	wrong := ask("GET", at("select"), job.Wrong, nil)
	report["wrong"] = []any{wrong.StatusCode, wrong.Header.Get("WWW-Authenticate")}
	read(wrong)
	refused := whole[:job.Refused]
	report["refused"] = read(ask("POST", at("update"), job.Wrong, bytes.NewReader(refused)))[0]
	report["after refused"] = post(at("update"), strings.NewReader("after"))
	expect := []string{"Expect", "100-continue"}
	report["expected"] = post(target(job.Base, "update", large, first), bytes.NewReader(refused), expect...)
	report["expected in vain"] = read(
		ask("POST", at("update"), job.Wrong, bytes.NewReader(refused), expect...))[0]
	report["after all"] = get(at("select"))
	options := ask("OPTIONS", at("select"), job.Wrong, nil)
	report["options"] = []any{options.StatusCode, options.Header.Get("Access-Control-Allow-Methods")}
	read(options)
	head := ask("HEAD", at("select"), job.Token, nil)
	report["head"] = append([]any{head.ContentLength}, read(head)...)
	out, _ := json.Marshal(report)
	fmt.Println(string(out))
}
