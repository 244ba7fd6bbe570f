import com.microsoft.azure.relay.HybridConnectionChannel;
import com.microsoft.azure.relay.HybridConnectionClient;
import com.microsoft.azure.relay.HybridConnectionListener;
import com.microsoft.azure.relay.RelayedHttpListenerContext;
import com.microsoft.azure.relay.TokenProvider;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.eclipse.jetty.websocket.api.UpgradeException;

/** The SDK as its users call it: every step tells what came of it in one JSON line. */
public final class Sdk {
    private static final int LARGE = 104_000;

    private final URI address;
    private final TokenProvider tokens;
    private final HybridConnectionListener listener;

    private Sdk(String endpoint, String path, String rule, String key) {
        address = URI.create(endpoint + path);
        tokens = TokenProvider.createSharedAccessSignatureTokenProvider(rule, key);
        listener = new HybridConnectionListener(address, tokens);
    }

    public static void main(String[] arguments) throws Exception {
        new Sdk(arguments[0], arguments[1], arguments[2], arguments[3]).run();
        System.exit(0); // its threads would go on
    }

    private void run() throws Exception {
        AtomicInteger offline = new AtomicInteger();
        AtomicReference<Throwable> error = new AtomicReference<>();
        listener.setOfflineHandler(cause -> {
            error.set(cause);
            offline.incrementAndGet();
        });
        listener.openAsync(Duration.ofSeconds(15)).get(20, TimeUnit.SECONDS);
        tell("online", "\"is\":" + listener.isOnline());
        echo();
        reject();
        listener.setAcceptHandler(null);
        listener.setRequestHandler(this::answer);
        ask("GET", 0, 8);
        ask("POST", LARGE, LARGE);
        listener.close();
        tell("offline", "\"times\":" + offline.get() + ",\"error\":" + (error.get() != null));
    }

    private void echo() throws Exception {
        CompletableFuture<HybridConnectionChannel> accepting = listener.acceptConnectionAsync();
        HybridConnectionChannel sender = connect();
        HybridConnectionChannel accepted = accepting.get(20, TimeUnit.SECONDS);
        sender.writeAsync(ByteBuffer.wrap(payload(LARGE))).get(20, TimeUnit.SECONDS);
        byte[] heard = bytes(accepted.readAsync(Duration.ofSeconds(20)).get());
        accepted.writeAsync(ByteBuffer.wrap(heard.clone())).get(20, TimeUnit.SECONDS);
        byte[] echoed = bytes(sender.readAsync(Duration.ofSeconds(20)).get());
        tell("echoed", "\"same\":" + Arrays.equals(payload(LARGE), echoed));
        sender.closeAsync().get(20, TimeUnit.SECONDS);
        Thread.sleep(500); // the time that the SDK's own suite allows
        tell("closed", "\"accepted\":" + accepted.isOpen() + ",\"online\":" + listener.isOnline());
    }

    private void reject() throws Exception {
        listener.setAcceptHandler(context -> false);
        try {
            connect();
            tell("accepted", "\"although\":\"it was to be rejected\"");
        } catch (java.util.concurrent.ExecutionException | CompletionException refused) {
            Throwable cause = refused;
            while (cause != null && !(cause instanceof UpgradeException)) {
                cause = cause.getCause();
            }
            int status = cause == null ? 0 : ((UpgradeException) cause).getResponseStatusCode();
            tell("refused", "\"status\":" + status);
        }
    }

    private void ask(String method, int size, int expected) throws Exception {
        URI url = URI.create(address.toString().replaceFirst("sb://", "https://"));
        HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection();
        connection.setRequestMethod(method);
        connection.setRequestProperty("Expected", Integer.toString(expected));
        String token = tokens.getTokenAsync(url.toString(), Duration.ofHours(1)).get().getToken();
        connection.setRequestProperty("ServiceBusAuthorization", token);
        if (size > 0) {
            connection.setDoOutput(true);
            connection.getOutputStream().write(payload(size));
            connection.getOutputStream().close();
        }
        int status = connection.getResponseCode();
        byte[] body = connection.getInputStream().readAllBytes();
        tell("answered", "\"status\":" + status + ",\"reason\":\"" + connection.getResponseMessage() + "\",\"same\":"
            + Arrays.equals(payload(expected), body) + ",\"received\":" + connection.getHeaderField("Received"));
    }

    private void answer(RelayedHttpListenerContext context) {
        try {
            InputStream input = context.getRequest().getInputStream();
            int received = input == null ? 0 : input.readAllBytes().length;
            int expected = Integer.parseInt(context.getRequest().getHeaders().get("Expected"));
            context.getResponse().setStatusCode(202);
            context.getResponse().setStatusDescription("OK");
            context.getResponse().getHeaders().put("Received", Integer.toString(received));
            context.getResponse().getOutputStream().write(payload(expected));
            context.getResponse().close();
        } catch (java.io.IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private HybridConnectionChannel connect() throws Exception {
        return new HybridConnectionClient(address, tokens).createConnectionAsync().get(30, TimeUnit.SECONDS);
    }

    private static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    private static byte[] payload(int size) {
        byte[] bytes = new byte[size];
        for (int at = 0; at < size; at++) {
            bytes[at] = (byte) (at % 251);
        }
        return bytes;
    }

    private static void tell(String event, String members) {
        System.out.println("{\"event\":\"" + event + "\"," + members + "}");
        System.out.flush();
    }
}
