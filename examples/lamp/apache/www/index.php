<?php
/*
 * A shop window: each visit is written into the replica's database, and the
 * last visits are read from it.
 *
 *   /          the page; as text/plain for clients that do not ask for HTML
 *   /healthz   "ok" while the database answers, status 503 otherwise
 *
 * Environment: DB_HOST, DB_NAME, DB_USER, DB_PASSWORD_FILE. ARGOSY_REPLICA is
 * the replica's name, such as shop/lamp.3.
 */
declare(strict_types=1);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function setting(string $name, string $default): string
{
    $value = getenv($name);
    return $value === false || $value === '' ? $default : $value;
}

function database(): mysqli
{
    $file = setting('DB_PASSWORD_FILE', '/run/secrets/db-shop');
    $password = @file_get_contents($file);
    if ($password === false) {
        throw new RuntimeException("cannot read the password file $file");
    }
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 2);
    $db->real_connect(setting('DB_HOST', 'mysql'), setting('DB_USER', 'shop'), rtrim($password, "\n"), setting('DB_NAME', 'shop'));
    return $db;
}

/** Writes one visit; returns how many there were and the last five. */
function visit(mysqli $db, string $replica): array
{
    $db->query('CREATE TABLE IF NOT EXISTS visits (
        id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
        at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        replica VARCHAR(200) NOT NULL)');
    $insert = $db->prepare('INSERT INTO visits (replica) VALUES (?)');
    $insert->bind_param('s', $replica);
    $insert->execute();
    $count = (int) $db->query('SELECT COUNT(*) FROM visits')->fetch_row()[0];
    $last = $db->query('SELECT id, at, replica FROM visits ORDER BY id DESC LIMIT 5')->fetch_all(MYSQLI_ASSOC);
    return [$count, $last];
}

$replica = setting('ARGOSY_REPLICA', (string) gethostname());
header("X-Served-By: $replica");
header('Cache-Control: no-store');

try {
    $db = database();
    if (strtok($_SERVER['REQUEST_URI'], '?') === '/healthz') {
        $db->query('SELECT 1');
        header('Content-Type: text/plain');
        echo "ok\n";
        exit;
    }
    [$count, $last] = visit($db, $replica);
} catch (Throwable $e) {
    http_response_code(503);
    header('Content-Type: text/plain; charset=utf-8');
    error_log($e->getMessage());
    echo "$replica cannot use its database: ", $e->getMessage(), "\n";
    exit;
}

if (!str_contains($_SERVER['HTTP_ACCEPT'] ?? '', 'text/html')) {
    header('Content-Type: text/plain; charset=utf-8');
    echo "served by $replica, $count rows\n";
    exit;
}
header('Content-Type: text/html; charset=utf-8');
$h = static fn ($s) => htmlspecialchars((string) $s);
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title><?= $h($replica) ?></title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem }
  td, th { text-align: left; padding: .1rem 1.2rem .1rem 0 }
</style>
<h1>Served by <?= $h($replica) ?></h1>
<p>This replica's own database has <strong><?= $count ?></strong> visits, yours included. Reload to meet the others.</p>
<table>
  <tr><th>visit<th>at<th>served by
<?php foreach ($last as $row): ?>
  <tr><td><?= $h($row['id']) ?><td><?= $h($row['at']) ?><td><?= $h($row['replica']) ?>
<?php endforeach ?>
</table>
</html>
