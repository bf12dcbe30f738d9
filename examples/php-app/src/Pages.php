<?php

declare(strict_types=1);

namespace App;

/** What is answered at each address. */
final class Pages
{
    public function __construct(private Notes $notes)
    {
    }

    /** @return array{int, string} */
    public function answer(string $path): array
    {
        if ($path === '/') {
            return [200, 'hello from php'];
        }
        if (preg_match('~^/spell/(\d+)$~', $path, $found)) {
            $words = new \NumberFormatter('en', \NumberFormatter::SPELLOUT);
            return [200, $words->format((int) $found[1])];
        }
        if ($path === '/notes') {
            return [200, implode("\n", $this->notes->all())];
        }
        return [404, "there is nothing at $path"];
    }
}
