import java.net.InetAddress;
import java.net.URI;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.json.JSONArray;
import org.json.JSONObject;

/** HybridConnectionListener, with the SDK's demands on every command: what it cannot take closes the channel. */
final class Listener {
    private static final int[] RETRIES = {0, 1, 2, 5, 10, 30};
    private static final int MAX_CONTROL_BODY = 64 * 1024;
    private static final int FLUSH_MILLIS = 2000;

    private final Relay relay;
    private final Consumer<JSONObject> tell;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final String id = UUID.randomUUID().toString();
    private volatile JSONObject settings;
    private volatile boolean isClosing;
    private volatile Socket control;
    private CompletableFuture<Void> ended;

    Listener(Relay relay, Consumer<JSONObject> tell) {
        this.relay = relay;
        this.tell = tell;
    }

    /** What the handlers do from now on: `accept` is yes, no or throw; `respond` an answer. */
    void set(JSONObject wanted) {
        settings = wanted;
    }

    void open() throws Exception {
        connect();
        ended = CompletableFuture.runAsync(this::pump, threads);
    }

    void close() throws Exception {
        isClosing = true;
        control.close("Normal Closure");
        ended.get(10, TimeUnit.SECONDS);
        threads.shutdownNow();
    }

    /** Close the channel behind the listener's back, as a network would. */
    void cut() throws Exception {
        control.close("");
    }

    private void connect() throws Exception {
        control = Socket.connect(relay.listenUri(id), Socket.authorized(relay.listenerToken()));
        tell.accept(event("listening"));
    }

    private void pump() {
        int retry = 0;
        while (true) {
            String lost;
            try {
                lost = serve(control);
            } catch (Exception error) {
                lost = error.toString();
            }
            if (isClosing) {
                tell.accept(event("offline"));
                return;
            }
            tell.accept(event("connecting").put("error", lost));
            while (true) {
                try {
                    Thread.sleep(1000L * RETRIES[Math.min(retry++, RETRIES.length - 1)]);
                    connect();
                    retry = 0;
                    break;
                } catch (Exception error) {
                    tell.accept(event("connecting").put("error", error.toString()));
                }
            }
        }
    }

    private String serve(Socket channel) throws Exception {
        while (true) {
            Socket.Message message = channel.read();
            if (message.close != null) {
                return message.close.toString();
            }
            try {
                onCommand(new JSONObject(message.text), channel);
            } catch (RuntimeException error) {
                channel.close("unexpected command");
                throw error;
            }
        }
    }

    private void onCommand(JSONObject command, Socket channel) throws Exception {
        for (String name : command.keySet()) {
            if (name.equals("accept")) {
                JSONObject accept = command.getJSONObject(name);
                checkEndpoint(accept.getJSONObject("remoteEndpoint"));
                strings(accept.getJSONObject("connectHeaders"));
                Relay.trackingId(accept.getString("id"));
                threads.execute(() -> guarded(() -> onAccept(accept)));
            } else if (name.equals("request")) {
                JSONObject request = command.getJSONObject(name);
                byte[] body = request.optBoolean("body") ? channel.read().bytes : null;
                threads.execute(() -> guarded(() -> onRequest(request, body)));
            } else {
                throw new IllegalArgumentException("invalid command: " + name);
            }
        }
    }

    private void onAccept(JSONObject accept) throws Exception {
        String address = accept.getString("address");
        Relay.parameters(new URI(address));
        tell.accept(event("accept").put("address", address).put("headers", accept.getJSONObject("connectHeaders")));
        String verdict = settings.optString("accept", "yes");
        if (verdict.equals("throw")) {
            throw new IllegalStateException("the handler is broken"); // and nobody answers, as in the SDK
        }
        if (verdict.equals("no")) {
            String refused = "&sb-hc-statusCode=400&sb-hc-statusDescription=" + Relay.encode("Rejected by user code");
            try {
                Socket.connect(new URI(address + refused), new java.util.HashMap<>());
            } catch (org.eclipse.jetty.websocket.api.UpgradeException expected) {
                tell.accept(event("rejected").put("status", expected.getResponseStatusCode()));
            }
            return;
        }
        Socket socket = Socket.connect(new URI(address), new java.util.HashMap<>());
        while (true) {
            Socket.Message message = socket.read();
            if (message.close != null) {
                tell.accept(event("closed").put("side", "listener").put("code", message.close.getCloseCode().getCode())
                    .put("reason", message.close.getReasonPhrase()).put("online", control.isOpen()));
                return;
            }
            if (settings.optBoolean("hangs up")) {
                socket.close("Listener closing normally.");
            } else if (message.text != null) {
                socket.writeText(message.text);
            } else {
                socket.writeBytes(message.bytes, true);
            }
        }
    }

    private void onRequest(JSONObject first, byte[] firstBody) throws Exception {
        JSONObject request = first;
        byte[] body = firstBody;
        URI rendezvous = new URI(request.getString("address"));
        UUID tracking = Relay.trackingId(Relay.parameters(rendezvous).get("sb-hc-id"));
        Socket socket = null;
        if (!request.has("body")) {
            socket = Socket.connect(rendezvous, new java.util.HashMap<>());
            request = new JSONObject(socket.read().text).getJSONObject("request");
            body = socket.read().bytes;
            body.clone(); // without a body there is a null here, and the request is lost
        }
        checkEndpoint(request.getJSONObject("remoteEndpoint"));
        strings(request.getJSONObject("requestHeaders"));
        String target = request.getString("requestTarget");
        int mark = target.indexOf('?');
        String path = mark < 0 ? target : target.substring(0, mark);
        String query = mark < 0 ? null : target.substring(mark + 1);
        // The SDK's URI of the request: its constructor quotes a percent sign too, so one decoding gives `path` back.
        URI uri = new URI("sb", null, relay.endpoint.getHost(), relay.endpoint.getPort(), path, query, null);
        tell.accept(event("request").put("method", request.getString("method")).put("path", uri.getPath())
            .put("query", uri.getQuery()).put("headers", request.getJSONObject("requestHeaders"))
            .put("bytes", body == null ? -1 : body.length).put("sha256", Peer.sha256(body)).put("id", tracking));
        respond(request.getString("id"), settings.getJSONObject("respond"), rendezvous, socket);
    }

    private void respond(String requestId, JSONObject wanted, URI rendezvous, Socket fetched) throws Exception {
        StringBuilder command = new StringBuilder("{\"response\":{\"requestId\":\"" + requestId + "\"");
        command.append(",\"statusCode\":").append(wanted.optInt("status", 200));
        if (wanted.has("description")) {
            command.append(",\"statusDescription\":").append(JSONObject.quote(wanted.getString("description")));
        }
        command.append(",\"responseHeaders\":").append(wanted.has("headers") ? wanted.getJSONObject("headers") : new JSONObject());
        JSONArray pieces = wanted.optJSONArray("pieces");
        boolean hasBody = pieces != null && pieces.length() > 0;
        command.append(",\"body\":").append(hasBody).append("}}");
        int first = hasBody ? pieces.getInt(0) : 0;
        boolean isSlow = wanted.optInt("pause") > FLUSH_MILLIS;
        if (fetched == null && first <= MAX_CONTROL_BODY && !isSlow) {
            control.writeCommand(command.toString(), hasBody ? Peer.payload(first) : null);
            return;
        }
        Socket socket = fetched != null ? fetched : Socket.connect(rendezvous, new java.util.HashMap<>());
        socket.writeText(command.toString());
        for (int at = 0; hasBody && at < pieces.length(); at++) {
            if (at > 0) {
                Thread.sleep(wanted.optInt("pause"));
            }
            socket.writeBytes(Peer.payload(pieces.getInt(at)), false); // no frame of a body has FIN: the Close ends it
        }
        socket.close("NormalClosure");
    }

    private void checkEndpoint(JSONObject endpoint) throws Exception {
        InetAddress.getByName(endpoint.getString("address"));
        endpoint.getInt("port");
    }

    private static void strings(JSONObject headers) {
        headers.toMap().forEach((name, value) -> String.class.cast(value));
    }

    private interface Work {
        void run() throws Exception;
    }

    private void guarded(Work work) {
        try {
            work.run();
        } catch (Exception error) {
            tell.accept(event("failed").put("error", error.toString()));
        }
    }

    private static JSONObject event(String name) {
        return new JSONObject().put("event", name);
    }
}
