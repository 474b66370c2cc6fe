import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** HOST PORT VERSION STORE PASSWORD: one request. */
class Client {
    public static void main(String[] args) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(args[3])) {
            keys.load(file, args[4].toCharArray());
        }
        KeyManagerFactory factory = KeyManagerFactory.getInstance("SunX509");
        factory.init(keys, args[4].toCharArray());
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(factory.getKeyManagers(), new TrustManager[] {new Trusting()}, null);
        int port = Integer.parseInt(args[1]);
        try (SSLSocket socket = (SSLSocket) tls.getSocketFactory().createSocket(args[0], port)) {
            socket.setEnabledProtocols(new String[] {args[2]});
            socket.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes());
            socket.getInputStream().readAllBytes();
        }
    }

    /** The server's certificate is made for each run. */
    private static final class Trusting implements X509TrustManager {
        @Override public void checkClientTrusted(X509Certificate[] chain, String type) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String type) {}
        @Override public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}
