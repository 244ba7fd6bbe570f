import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URI;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.eclipse.jetty.websocket.api.UpgradeException;
import org.json.JSONObject;

/** A listener and senders that speak as Azure's SDK for Java does; commands and events are JSON lines. */
public final class Peer {
    private final Relay relay;
    private final Map<Integer, Socket> sockets = new HashMap<>();
    private final Listener listener;

    private Peer(JSONObject options) {
        relay = new Relay(options.getString("endpoint"), options.getString("path"),
            options.getString("rule"), options.getString("key"));
        listener = new Listener(relay, Peer::tell);
    }

    public static void main(String[] arguments) throws Exception {
        Peer peer = new Peer(new JSONObject(arguments[0]));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                peer.obey(new JSONObject(line));
            } catch (Exception error) {
                tell(new JSONObject().put("event", "error").put("error", error.toString()));
            }
        }
        System.exit(0);
    }

    private void obey(JSONObject command) throws Exception {
        int number = command.optInt("number");
        switch (command.getString("do")) {
            case "set":
                listener.set(command);
                break;
            case "listen":
                listener.set(command);
                listener.open();
                break;
            case "cut":
                listener.cut();
                break;
            case "stop listening":
                listener.close();
                break;
            case "connect":
                connect(command, number);
                break;
            case "send":
                send(command, sockets.get(number), number);
                break;
            case "await close":
                javax.websocket.CloseReason heard = sockets.get(number).closed.get(10, java.util.concurrent.TimeUnit.SECONDS);
                tell(closed(number, heard));
                break;
            case "close":
                tell(closed(number, sockets.get(number).close("Client closing normally.")));
                break;
            case "request":
                request(command);
                break;
            default:
                throw new IllegalArgumentException(command.toString());
        }
    }

    private void connect(JSONObject command, int number) throws Exception {
        Map<String, String> headers = Socket.authorized(relay.senderToken());
        if (command.has("headers")) {
            command.getJSONObject("headers").toMap().forEach((name, value) -> headers.put(name, (String) value));
        }
        try {
            sockets.put(number, Socket.connect(relay.connectUri(command.optString("query", null)), headers));
            tell(new JSONObject().put("event", "opened").put("number", number));
        } catch (UpgradeException refused) {
            tell(new JSONObject().put("event", "refused").put("number", number)
                .put("status", refused.getResponseStatusCode()).put("reason", refused.getMessage()));
        }
    }

    private void send(JSONObject command, Socket socket, int number) throws Exception {
        int size = command.getInt("bytes");
        boolean isText = command.getString("kind").equals("text");
        if (isText) {
            socket.writeText(text(size));
        } else {
            socket.writeBytes(payload(size), true); // Jetty masks the array in place
        }
        if (!command.optBoolean("echoes", true)) {
            return;
        }
        Socket.Message heard = socket.read();
        boolean isSame = isText ? text(size).equals(heard.text) : Arrays.equals(payload(size), heard.bytes);
        tell(new JSONObject().put("event", "echoed").put("number", number).put("same", isSame));
    }

    /** By HttpURLConnection, with a token over the whole URL, query included, as the SDK's own tests do it. */
    private void request(JSONObject command) throws Exception {
        String url = "https://" + relay.endpoint.getAuthority() + "/" + command.getString("target");
        HttpURLConnection connection = (HttpURLConnection) new URI(url).toURL().openConnection();
        connection.setRequestMethod(command.optString("method", "GET"));
        connection.setRequestProperty("ServiceBusAuthorization", relay.token(url));
        if (command.has("headers")) {
            command.getJSONObject("headers").toMap().forEach((name, value) ->
                connection.setRequestProperty(name, (String) value));
        }
        if (command.has("bytes")) {
            connection.setDoOutput(true);
            connection.getOutputStream().write(payload(command.getInt("bytes")));
            connection.getOutputStream().close();
        }
        JSONObject told = new JSONObject().put("event", "answered").put("status", connection.getResponseCode())
            .put("reason", connection.getResponseMessage());
        JSONObject headers = new JSONObject();
        connection.getHeaderFields().forEach((name, values) -> {
            if (name != null) {
                headers.put(name, values.get(0));
            }
        });
        InputStream stream = connection.getResponseCode() < 400 ? connection.getInputStream() : connection.getErrorStream();
        byte[] body = stream == null ? new byte[0] : stream.readAllBytes();
        tell(told.put("headers", headers).put("bytes", body.length).put("sha256", sha256(body)));
    }

    private static JSONObject closed(int number, javax.websocket.CloseReason reason) {
        return new JSONObject().put("event", "closed").put("side", "sender").put("number", number)
            .put("code", reason.getCloseCode().getCode()).put("reason", reason.getReasonPhrase());
    }

    /** The same bytes everywhere in the tests. */
    static byte[] payload(int size) {
        byte[] bytes = new byte[size];
        for (int at = 0; at < size; at++) {
            bytes[at] = (byte) (at % 251);
        }
        return bytes;
    }

    private static String text(int size) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < size; at++) {
            text.append((char) ('a' + at % 26));
        }
        return text.toString();
    }

    static String sha256(byte[] bytes) throws Exception {
        StringBuilder hex = new StringBuilder();
        for (byte each : MessageDigest.getInstance("SHA-256").digest(bytes == null ? new byte[0] : bytes)) {
            hex.append(String.format("%02x", each));
        }
        return hex.toString();
    }

    private static synchronized void tell(JSONObject event) {
        System.out.println(event);
        System.out.flush();
    }
}
