import express from 'express';
import { z } from 'zod';

import { greeting } from './greeting.js';

const settings = z.object({ PORT: z.coerce.number().default(8080) }).parse(process.env);
const app = express();

app.get('/', (_request, response) => {
  response.json({ greeting });
});

app.listen(settings.PORT, '0.0.0.0');
