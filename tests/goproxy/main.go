// A reverse proxy on Go's standard library that takes Caddy's configuration, as far as the tests
// write one: the same hops with every release of Go.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

type clientTLS struct {
	ServerName  string   `json:"server_name"`
	Certificate string   `json:"client_certificate_file"`
	Key         string   `json:"client_certificate_key_file"`
	Insecure    bool     `json:"insecure_skip_verify"`
	Roots       []string `json:"root_ca_pem_files"`
}

type config struct {
	Apps struct {
		HTTP struct {
			Servers map[string]struct {
				Listen []string
				Routes []struct {
					Handle []struct {
						Transport struct{ TLS *clientTLS }
						Upstreams []struct{ Dial string }
					}
				}
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func (c clientTLS) config() *tls.Config {
	result := &tls.Config{ServerName: c.ServerName, InsecureSkipVerify: c.Insecure}
	if c.Certificate != "" {
		result.Certificates = []tls.Certificate{must(tls.LoadX509KeyPair(c.Certificate, c.Key))}
	}
	for _, file := range c.Roots {
		result.RootCAs = x509.NewCertPool()
		result.RootCAs.AppendCertsFromPEM(must(os.ReadFile(file)))
	}
	// Caddy keeps no sessions.
	if os.Getenv("GOPROXY_SESSIONS") != "" {
		result.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return result
}

// Writes a profile of handshakes with a server of our own.
func profile(file string) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: server.TLS.Certificates},
	}}
	output := must(os.Create(file))
	if err := pprof.StartCPUProfile(output); err != nil {
		log.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 5*time.Second; {
		must(client.Get(server.URL)).Body.Close()
	}
	pprof.StopCPUProfile()
	if err := output.Close(); err != nil {
		log.Fatal(err)
	}
}

// Called as Caddy is: run --config FILE. Or: profile FILE.
func main() {
	log.Println(runtime.Version())
	if os.Args[1] == "profile" {
		profile(os.Args[2])
		return
	}
	var wanted config
	if err := json.Unmarshal(must(os.ReadFile(os.Args[3])), &wanted); err != nil {
		log.Fatal(err)
	}
	for _, server := range wanted.Apps.HTTP.Servers {
		handle := server.Routes[0].Handle[0]
		target := &url.URL{Scheme: "http", Host: handle.Upstreams[0].Dial}
		transport := &http.Transport{DisableKeepAlives: true}
		if handle.Transport.TLS != nil {
			target.Scheme = "https"
			transport.TLSClientConfig = handle.Transport.TLS.config()
		}
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = transport
		address := server.Listen[0]
		go func() { log.Fatal(http.ListenAndServe(address, proxy)) }()
	}
	select {}
}
