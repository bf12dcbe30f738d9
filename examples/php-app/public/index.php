<?php

declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/';
[$status, $body] = (new App\Pages(new App\Notes()))->answer($path);
http_response_code($status);
header('Content-Type: text/plain; charset=utf-8');
echo $body, "\n";
