const pages = { "/": "Welcome", "/about": "About this app" };

/** What is shown at an address. */
export const page = (path) => pages[path] ?? `There is nothing at ${path}`;
