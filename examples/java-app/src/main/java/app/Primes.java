package app;

import com.google.gson.Gson;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Prime numbers, as JSON. */
final class Primes {
    private Primes() {}

    static List<Integer> below(int limit) {
        return IntStream.range(2, limit)
                .filter(number -> IntStream.rangeClosed(2, (int) Math.sqrt(number)).noneMatch(by -> number % by == 0))
                .boxed()
                .collect(Collectors.toList());
    }

    static String json(int limit) {
        return new Gson().toJson(below(limit));
    }
}
