<?php

declare(strict_types=1);

namespace App;

/** Notes in a database of their own. */
final class Notes
{
    private \PDO $database;

    public function __construct(string $dsn = 'sqlite::memory:')
    {
        $this->database = new \PDO($dsn);
        $this->database->exec('CREATE TABLE IF NOT EXISTS notes (text TEXT)');
        $this->database->exec("INSERT INTO notes VALUES ('buy bread')");
    }

    /** @return list<string> */
    public function all(): array
    {
        return $this->database->query('SELECT text FROM notes')->fetchAll(\PDO::FETCH_COLUMN);
    }
}
