package app;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class PrimesTest {
    @Test
    public void primesBelowTwelve() {
        assertEquals("[2,3,5,7,11]", Primes.json(12));
    }
}
