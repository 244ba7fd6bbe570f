import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Addresses and tokens as the SDK makes them. */
final class Relay {
    final URI endpoint;
    final String path;
    private final String rule;
    private final String key;

    Relay(String endpoint, String path, String rule, String key) {
        this.endpoint = URI.create(endpoint);
        this.path = path;
        this.rule = rule;
        this.key = key;
    }

    /** A token over the text as it stands: no normalising, whatever the text is. */
    String token(String resource) throws Exception {
        String sr = encode(resource);
        long expiry = System.currentTimeMillis() / 1000 + 3600;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        byte[] signed = mac.doFinal((sr + "\n" + expiry).getBytes(StandardCharsets.UTF_8));
        String signature = encode(Base64.getEncoder().encodeToString(signed));
        return "SharedAccessSignature sr=" + sr + "&sig=" + signature + "&se=" + expiry + "&skn=" + encode(rule);
    }

    String listenerToken() throws Exception {
        return token(endpoint + path);
    }

    /** The sender's token lacks the path: the SDK drops it. */
    String senderToken() throws Exception {
        return token("sb://" + endpoint.getAuthority());
    }

    URI listenUri(String id) throws Exception {
        return webSocketUri("listen", null, id);
    }

    URI connectUri(String query) throws Exception {
        return webSocketUri("connect", query, UUID.randomUUID().toString());
    }

    private URI webSocketUri(String action, String query, String id) throws Exception {
        String all = (query == null ? "" : query + "&") + "sb-hc-action=" + action + "&sb-hc-id=" + id;
        return new URI("wss", null, endpoint.getHost(), endpoint.getPort(), "/$hc/" + path, all, null);
    }

    /** The SDK's parsing of a rendezvous: decoded first, split after, and a piece of three parts is an error. */
    static Map<String, String> parameters(URI rendezvous) {
        Map<String, String> found = new LinkedHashMap<>();
        for (String piece : rendezvous.getQuery().split("&")) {
            String[] parts = piece.split("=");
            if (parts.length > 2) {
                throw new IllegalArgumentException("invalid query: " + piece);
            }
            found.put(parts[0], parts.length > 1 ? parts[1] : "");
        }
        return found;
    }

    /** The id of a command must begin with a UUID. */
    static UUID trackingId(String id) {
        return UUID.fromString(id.substring(0, 36));
    }

    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
}
