// A server of Go's standard library on $PORT. It needs nothing beside itself.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	pieces       = 5
	pause        = 20 * time.Millisecond
	slow         = 120 * time.Second
	echoBytesMax = 16 << 20
	hogBytes     = 1 << 20
	headBytesMax = 64 << 10
)

var count atomic.Int64

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, "hello from Go")
	})
	http.HandleFunc("/counter", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, count.Add(1))
	})
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/stream", stream)
	http.HandleFunc("/headers", headers)
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("begun")
		time.Sleep(slow)
		fmt.Fprintln(w, "at last")
	})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		// A panic in a handler would be caught.
		go panic("asked to crash")
		select {}
	})
	http.HandleFunc("/hog", func(http.ResponseWriter, *http.Request) {
		var held [][]byte
		for {
			piece := make([]byte, hogBytes)
			for i := range piece {
				piece[i] = 0x55
			}
			held = append(held, piece)
		}
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := http.Server{Addr: ":" + port, MaxHeaderBytes: headBytesMax}
	log.Fatal(server.ListenAndServe())
}

// Sends the body back, whole: Go's server gives the request up once its reply begins.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, echoBytesMax))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	w.Write(body)
}

func stream(w http.ResponseWriter, _ *http.Request) {
	for i := 0; i < pieces; i++ {
		fmt.Fprintf(w, "piece %d\n", i)
		w.(http.Flusher).Flush()
		time.Sleep(pause)
	}
}

func headers(w http.ResponseWriter, r *http.Request) {
	seen := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		seen[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(seen)
}
