import java.io.IOException;
import java.io.Writer;
import java.net.URI;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.websocket.ClientEndpointConfig;
import javax.websocket.CloseReason;
import javax.websocket.ContainerProvider;
import javax.websocket.DeploymentException;
import javax.websocket.Endpoint;
import javax.websocket.EndpointConfig;
import javax.websocket.MessageHandler;
import javax.websocket.Session;
import javax.websocket.WebSocketContainer;
import org.eclipse.jetty.util.component.LifeCycle;
import org.eclipse.jetty.websocket.api.UpgradeException;

/** A WebSocket with the SDK's buffers: whole texts of at most 64 KiB, binary messages fragment by fragment. */
final class Socket extends Endpoint {
    static final int BUFFER_BYTES = 64 * 1024;

    /** A message, or the end of them. */
    static final class Message {
        final String text;
        final byte[] bytes;
        final CloseReason close;

        Message(String text, byte[] bytes, CloseReason close) {
            this.text = text;
            this.bytes = bytes;
            this.close = close;
        }
    }

    final CompletableFuture<CloseReason> closed = new CompletableFuture<>();
    private final WebSocketContainer container = ContainerProvider.getWebSocketContainer();
    private final BlockingQueue<Message> messages = new LinkedBlockingQueue<>();
    private java.io.ByteArrayOutputStream fragments = new java.io.ByteArrayOutputStream();
    private Session session;

    /** Connect and upgrade; the handshake's refusal is an UpgradeException with its status. */
    static Socket connect(URI uri, Map<String, String> headers) throws Exception {
        Socket socket = new Socket();
        ClientEndpointConfig config = ClientEndpointConfig.Builder.create()
            .configurator(new ClientEndpointConfig.Configurator() {
                @Override
                public void beforeRequest(Map<String, List<String>> sent) {
                    headers.forEach((name, value) -> sent.put(name, List.of(value)));
                }
            })
            .build();
        socket.container.setDefaultMaxTextMessageBufferSize(BUFFER_BYTES);
        socket.container.setDefaultMaxBinaryMessageBufferSize(BUFFER_BYTES);
        try {
            socket.container.connectToServer(socket, config, uri);
        } catch (DeploymentException | IOException error) {
            socket.stop();
            throw error.getCause() instanceof UpgradeException ? (UpgradeException) error.getCause() : error;
        }
        return socket;
    }

    static Map<String, String> authorized(String token) {
        Map<String, String> headers = new LinkedHashMap<>();
        headers.put("ServiceBusAuthorization", token);
        return headers;
    }

    @Override
    public void onOpen(Session opened, EndpointConfig config) {
        session = opened;
        session.setMaxIdleTimeout(0);
        session.addMessageHandler(new MessageHandler.Whole<String>() {
            @Override
            public void onMessage(String text) {
                messages.add(new Message(text, null, null));
            }
        });
        session.addMessageHandler(new MessageHandler.Partial<byte[]>() {
            @Override
            public void onMessage(byte[] part, boolean isLast) {
                fragments.writeBytes(part);
                if (isLast) {
                    messages.add(new Message(null, fragments.toByteArray(), null));
                    fragments = new java.io.ByteArrayOutputStream();
                }
            }
        });
    }

    @Override
    public void onClose(Session ended, CloseReason reason) {
        messages.add(new Message(null, null, reason));
        closed.complete(reason);
    }

    @Override
    public void onError(Session failed, Throwable cause) {
        // The close that follows is what counts, as in the SDK.
    }

    boolean isOpen() {
        return session.isOpen();
    }

    /** The next message; one whose `close` is set once there are no more. */
    Message read() throws InterruptedException {
        Message message = messages.poll(60, TimeUnit.SECONDS);
        if (message == null) {
            throw new IllegalStateException("nothing came for a minute");
        }
        return message;
    }

    /** A text by a writer, as the SDK sends its commands. */
    synchronized void writeText(String text) throws IOException {
        try (Writer writer = session.getBasicRemote().getSendWriter()) {
            writer.write(text);
        }
    }

    synchronized void writeBytes(byte[] bytes, boolean isLast) throws IOException {
        if (isLast) {
            session.getBasicRemote().sendBinary(ByteBuffer.wrap(bytes));
        } else {
            session.getBasicRemote().sendBinary(ByteBuffer.wrap(bytes), false);
        }
    }

    /** A command and the body that belongs to it, adjacent. */
    synchronized void writeCommand(String command, byte[] body) throws IOException {
        writeText(command);
        if (body != null) {
            writeBytes(body, true);
        }
    }

    /** Close with 1000 and wait for the other side's Close. */
    CloseReason close(String reason) throws Exception {
        session.close(new CloseReason(CloseReason.CloseCodes.NORMAL_CLOSURE, reason));
        CloseReason heard = closed.get(10, TimeUnit.SECONDS);
        stop();
        return heard;
    }

    private void stop() throws Exception {
        ((LifeCycle) container).stop();
    }
}
