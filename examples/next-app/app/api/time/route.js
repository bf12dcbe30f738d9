export const dynamic = "force-dynamic";

/** What only a server can say. */
export function GET() {
  return Response.json({ up: Math.floor(process.uptime()) });
}
