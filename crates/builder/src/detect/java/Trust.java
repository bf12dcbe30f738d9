import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;

/** Makes the trust store, which Java needs, of a file of PEM certificates: Trust FROM TO. */
public class Trust {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        int number = 0;
        try (FileInputStream from = new FileInputStream(arguments[0])) {
            for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(from)) {
                store.setCertificateEntry("nonna-" + number++, one);
            }
        }
        try (FileOutputStream to = new FileOutputStream(arguments[1])) {
            store.store(to, "changeit".toCharArray());
        }
    }
}
