// A Node.js app with no Dockerfile: package.json says what it is and how it starts.
import { createServer } from "node:http";
import ms from "ms";

const started = Date.now();
const port = Number(process.env.PORT ?? 8080);

const server = createServer((request, response) => {
  const healthy = request.url === "/health";
  response.setHeader("content-type", "text/plain");
  response.statusCode = healthy || request.url === "/" ? 200 : 404;
  response.end(healthy ? "ok\n" : `Hello from Node.js ${process.version}, up for ${ms(Date.now() - started)}\n`);
});

server.listen(port, "0.0.0.0", () => console.log(`listening on 0.0.0.0:${port}`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
