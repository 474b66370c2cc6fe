import com.sun.net.httpserver.HttpServer;
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.concurrent.Executors;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** A reverse proxy with the JDK's own HTTP server and client. */
class Proxy {
    private static final char[] PASSWORD = "secret".toCharArray();

    public static void main(String[] args) throws Exception {
        for (int at = 1; at < args.length; at += 3) {
            String scheme = args[at + 2].equals("clear") ? "http" : "https";
            URI upstream = URI.create(scheme + "://" + args[at + 1] + "/");
            serve(address(args[at]), upstream, client(args[0], args[at + 2].equals("mutual")));
        }
    }

    private static InetSocketAddress address(String text) {
        int colon = text.lastIndexOf(':');
        int port = Integer.parseInt(text.substring(colon + 1));
        return new InetSocketAddress(text.substring(0, colon), port);
    }

    private static HttpClient client(String store, boolean mutual) throws Exception {
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(mutual ? keys(store) : null, new TrustManager[] {new Trusting()}, new SecureRandom());
        return HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(tls).build();
    }

    private static KeyManager[] keys(String path) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(path)) {
            store.load(file, PASSWORD);
        }
        KeyManagerFactory factory = KeyManagerFactory.getInstance("NewSunX509");
        factory.init(store, PASSWORD);
        return factory.getKeyManagers();
    }

    private static void serve(InetSocketAddress front, URI upstream, HttpClient client) throws Exception {
        HttpServer server = HttpServer.create(front, 128);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/", exchange -> {
            try {
                var answer = client.send(HttpRequest.newBuilder(upstream).build(), BodyHandlers.ofByteArray());
                exchange.sendResponseHeaders(answer.statusCode(), answer.body().length);
                exchange.getResponseBody().write(answer.body());
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            } catch (java.io.IOException failed) {
                exchange.sendResponseHeaders(502, -1);
            } finally {
                exchange.close();
            }
        });
        server.start();
    }

    /** The upstreams' authority is made for each run, and their addresses are in no certificate. */
    private static final class Trusting extends X509ExtendedTrustManager {
        @Override public void checkClientTrusted(X509Certificate[] chain, String type) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String type) {}
        @Override public void checkClientTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        @Override public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}
        @Override public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}
