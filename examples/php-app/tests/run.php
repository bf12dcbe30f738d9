<?php

declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

$pages = new App\Pages(new App\Notes());
foreach ([['/', 'hello from php'], ['/spell/42', 'forty-two'], ['/notes', 'buy bread']] as [$path, $expected]) {
    [$status, $body] = $pages->answer($path);
    if ($status !== 200 || $body !== $expected) {
        fwrite(STDERR, "$path: $status $body\n");
        exit(1);
    }
}
echo "ok\n";
