/** What the server says at each request. */
export const load = () => ({ node: process.version });
