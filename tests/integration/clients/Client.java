// The sequence of sequence.py by Java's HttpClient, which offers h2c with its first requests.
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletableFuture;

public class Client {
    static final String FIRST = "1.1.1/1.1.1/1.1.1";
    static final HttpClient client = HttpClient.newBuilder().build();
    static final StringBuilder report = new StringBuilder();

    static String target(String base, String what, String name, String at) {
        return base + "/api/v2/" + what + "?p=" + name
            + "&c=" + URLEncoder.encode(at, StandardCharsets.UTF_8);
    }

    static HttpRequest.Builder request(
            String method, String target, String token, BodyPublisher body) {
        return HttpRequest.newBuilder(URI.create(target))
            .timeout(Duration.ofSeconds(60))
            .header("Authorization", "Bearer " + token)
            .method(method, body == null ? BodyPublishers.noBody() : body);
    }

    static HttpResponse<InputStream> ask(
            String method, String target, String token, BodyPublisher body) throws Exception {
        return client.send(
            request(method, target, token, body).build(), BodyHandlers.ofInputStream());
    }

    static String read(HttpResponse<InputStream> answer) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] piece = new byte[65536];
        long size = 0;
        try (InputStream body = answer.body()) {
            for (int count; (count = body.read(piece)) >= 0; size += count) {
                digest.update(piece, 0, count);
            }
        }
        return "[" + answer.statusCode() + "," + size + ",\""
            + HexFormat.of().formatHex(digest.digest()) + "\"]";
    }

    static void note(String step, String value) {
        report.append(report.length() == 0 ? "{" : ",")
            .append('"').append(step).append("\":").append(value);
    }

    static byte[] lines(int count) {
        byte[] out = new byte[count * 9];
        for (int number = 0; number < count; number++) {
            int rest = number;
            for (int digit = 7; digit >= 0; digit--, rest /= 10) {
                out[number * 9 + digit] = (byte) ('0' + rest % 10);
            }
            out[number * 9 + 8] = '\n';
        }
        return out;
    }

    static String field(HttpResponse<InputStream> answer, String name) {
        return answer.headers().firstValue(name).orElse("");
    }

    // BASE COUNTED TOKEN WRONG TEXT NAME MANY CHUNKED LARGE REFUSED
    public static void main(String[] given) throws Exception {
        String base = given[0], counted = given[1], token = given[2], wrong = given[3];
        byte[] text = HexFormat.of().parseHex(given[4]);
        String name = given[5], large = given[5] + "-large";
        byte[] whole = lines(Integer.parseInt(given[8]));
        byte[] refused = Arrays.copyOf(whole, Integer.parseInt(given[9]));
        String update = target(base, "update", name, FIRST);
        String select = target(base, "select", name, FIRST);
        String updateLarge = target(base, "update", large, FIRST);

        note("update", read(ask("POST", update, token, BodyPublishers.ofByteArray(text))));
        note("select", read(ask("GET", select, token, null)));
        note("insert", read(ask("POST", target(base, "insert", name, FIRST), token,
            BodyPublishers.ofString("more"))));
        note("inserted", read(ask("GET", select, token, null)));
        note("get", read(ask("GET", target(base, "get", name, FIRST), token, null)));
        note("delete", read(ask("GET", target(base, "delete", name, FIRST), token, null)));
        note("deleted", read(ask("GET", select, token, null)));

        List<String> kept = new ArrayList<>();
        for (int number = 0; number < Integer.parseInt(given[6]); number++) {
            kept.add(read(ask("GET", counted + "/api/v2/version", token, null)));
        }
        note("kept", kept.toString());

        List<CompletableFuture<String>> parallel = new ArrayList<>();
        for (int index = 0; index < 8; index++) {
            String where = "1.1.1/1.1.1/2.1." + (index + 1), own = "text of " + index;
            parallel.add(CompletableFuture.supplyAsync(() -> {
                List<String> results = new ArrayList<>();
                try {
                    for (int number = 0; number < 3; number++) {
                        results.add(read(ask("POST", target(base, "update", name, where), token,
                            BodyPublishers.ofString(own))));
                        results.add(read(ask(
                            "GET", target(base, "select", name, where), token, null)));
                    }
                } catch (Exception error) {
                    throw new RuntimeException(error);
                }
                return results.toString();
            }, task -> new Thread(task).start()));
        }
        List<String> results = new ArrayList<>();
        for (CompletableFuture<String> one : parallel) {
            results.add(one.get());
        }
        note("parallel", results.toString());

        int chunked = Integer.parseInt(given[7]) * 9;
        note("chunked", read(ask("POST", updateLarge, token, BodyPublishers.ofInputStream(
            () -> new ByteArrayInputStream(whole, 0, chunked)))));
        note("streamed", read(ask("GET", target(base, "select", large, FIRST), token, null)));
        note("large", read(ask("POST", updateLarge, token, BodyPublishers.ofByteArray(whole))));
        note("downloaded", read(ask("GET", target(base, "get", large, FIRST), token, null)));

        HttpResponse<InputStream> answer = ask("GET", select, wrong, null);
        note("wrong", "[" + answer.statusCode() + ",\"" + field(answer, "www-authenticate") + "\"]");
        read(answer);
        answer = ask("POST", update, wrong, BodyPublishers.ofByteArray(refused));
        note("refused", "" + answer.statusCode());
        read(answer);
        note("after refused", read(ask("POST", update, token, BodyPublishers.ofString("after"))));
        note("expected", read(client.send(
            request("POST", updateLarge, token, BodyPublishers.ofByteArray(refused))
                .expectContinue(true).build(), BodyHandlers.ofInputStream())));
        answer = client.send(
            request("POST", update, wrong, BodyPublishers.ofByteArray(refused))
                .expectContinue(true).build(), BodyHandlers.ofInputStream());
        note("expected in vain", "" + answer.statusCode());
        // Before version 20 it hands over no body of such an answer (JDK-8286171).
        answer.body().close();
        note("after all", read(ask("GET", select, token, null)));
        answer = ask("OPTIONS", select, wrong, null);
        note("options", "[" + answer.statusCode() + ",\""
            + field(answer, "access-control-allow-methods") + "\"]");
        read(answer);
        answer = ask("HEAD", select, token, null);
        String length = field(answer, "content-length");
        note("head", "[" + (length.isEmpty() ? "-1" : length) + "," + read(answer).substring(1));
        System.out.println(report.append("}"));
    }
}
