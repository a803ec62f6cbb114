package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	connectrpc "connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
)

// GRPC wants the health service of gRPC (grpc.health.v1) to say SERVING.
type GRPC struct {
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,on"`
	// Service is the one that is asked about; empty is the whole server.
	Service string `key:"service"`
	// Host is the authority; empty means the server's address.
	Host string `key:"host"`
	TLS
}

var (
	_ Question  = GRPC{}
	_ Validator = GRPC{}
)

// Kind is "grpc".
func (GRPC) Kind() string { return "grpc" }

// String is the service.
func (q GRPC) String() string { return q.Service }

// Validate is part of Validator.
func (q GRPC) Validate() []Problem {
	return append(words("host", q.Host, "api.example.com"), q.problems()...)
}

// Prepare is part of Question.
func (q GRPC) Prepare() (ProbeFunc, error) {
	w := &web{scheme: "http", version: "2", requests: []*expectation{{Request: Request{Host: q.Host}}}}
	if q.Security == tlsOn {
		w.scheme, w.tls = "https", q.client()
	}
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, w) }, nil
}

// grpcLimit bounds an answer, which is a number.
const grpcLimit = 4 << 10

func (q GRPC) probe(ctx context.Context, t Target, w *web) (Answer, error) {
	doing := new(atomic.Value)
	doing.Store(whileConnecting)
	transport := w.transport(ctx, t, nil, doing)
	ctx = traced(ctx, doing)
	defer transport.CloseIdleConnections()
	authority := q.Host
	if authority == "" {
		authority = t.Server.String()
	}
	carrier := &grpcCarrier{transport: transport, host: authority, tls: w.tls}
	client := connectrpc.NewClient[string, healthStatus](carrier, w.scheme+"://"+t.Server.String()+"/grpc.health.v1.Health/Check",
		connectrpc.WithGRPC(), connectrpc.WithCodec(healthCodec{}), connectrpc.WithReadMaxBytes(grpcLimit), connectrpc.WithAcceptCompression("gzip", nil, nil))
	said, err := client.CallUnary(ctx, connectrpc.NewRequest(&q.Service))
	if err != nil {
		return Answer{}, q.reason(overdue(ctx, err), t, w, doing.Load().(string))
	}
	answer := Answer{Detail: said.Msg.String(), Warning: carrier.warning}
	if *said.Msg != serving {
		return Answer{}, fmt.Errorf("status is %s, want %s", said.Msg, serving)
	}
	return answer, nil
}

// reason words what went wrong.
func (q GRPC) reason(err error, t Target, w *web, doing string) error {
	var said *connectrpc.Error
	if !errors.As(err, &said) {
		return w.reason(err, t, doing)
	}
	if why := said.Unwrap(); why != nil && !connectrpc.IsWireError(err) {
		switch said.Code() {
		case connectrpc.CodeUnimplemented, connectrpc.CodeNotFound:
		default:
			return w.reason(why, t, doing)
		}
	}
	switch said.Code() {
	case connectrpc.CodeUnimplemented:
		return errors.New("server offers no health service (grpc.health.v1)")
	case connectrpc.CodeNotFound:
		return fmt.Errorf("server knows no service %q", q.Service)
	}
	return fmt.Errorf("health service answers %s: %s", said.Code(), printable(said.Message()))
}

// grpcCarrier gives the requests of the library to a transport.
type grpcCarrier struct {
	transport *http.Transport
	host      string
	tls       *tlsClient
	warning   string
}

// Do is part of connect.HTTPClient.
func (c *grpcCarrier) Do(req *http.Request) (*http.Response, error) {
	req.Host = c.host
	res, err := c.transport.RoundTrip(req)
	if err == nil && res.TLS != nil && c.tls != nil {
		c.warning = c.tls.warning(*res.TLS, time.Now())
	}
	return res, err
}

// healthStatus is a grpc.health.v1.HealthCheckResponse.
type healthStatus uint64

const serving healthStatus = 1

// String is the name that the protocol gives it.
func (s healthStatus) String() string {
	switch s {
	case 0:
		return "UNKNOWN"
	case serving:
		return "SERVING"
	case 2:
		return "NOT_SERVING"
	case 3:
		return "SERVICE_UNKNOWN"
	}
	return fmt.Sprintf("status %d", uint64(s))
}

// healthCodec encodes the two messages of grpc.health.v1: a request is a text,
// field 1, and a response a number, field 1. The generated ones bring all of
// gRPC along.
type healthCodec struct{}

// Name is the one of Protocol Buffers.
func (healthCodec) Name() string { return "proto" }

// Marshal is part of connect.Codec.
func (healthCodec) Marshal(message any) ([]byte, error) {
	service := *message.(*string)
	if service == "" {
		return nil, nil
	}
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service), nil
}

// Unmarshal is part of connect.Codec.
func (healthCodec) Unmarshal(b []byte, message any) error {
	status, ok := message.(*healthStatus)
	if !ok {
		return errors.New("answer is not a health status")
	}
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if b = b[n:]; number == 1 && typ == protowire.VarintType {
			value, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			*status, b = healthStatus(value), b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}
