package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// ServerCommand is the word after lvsha that runs one of the demo's real
// servers.
const ServerCommand = "demo-server"

// Serve is a real server: over HTTP on port 80 it answers with its name, on
// port 7 it echoes. It ends with ctx.
func Serve(ctx context.Context, name string) error {
	echo, err := net.Listen("tcp4", ":7")
	if err != nil {
		return fmt.Errorf("listening for echo: %w", err)
	}
	defer echo.Close()
	web, err := net.Listen("tcp4", ":80")
	if err != nil {
		return fmt.Errorf("listening for HTTP: %w", err)
	}
	defer web.Close()
	server := http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }),
	}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(web) }()
	go func() { failed <- echoAll(echo) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func echoAll(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accepting: %w", err)
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}
