import { defineConfig } from 'vitest/config'

const source = (path: string): string => new URL(path, import.meta.url).pathname

export default defineConfig({
  resolve: { alias: { 'nbd-client-ts': source('src/vendor/nbd-client-ts/src/index.ts') } },
  test: {
    include: ['test/**/*.test.ts', 'src/vendor/*/test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // Against hangs only: on a busy machine a process may take seconds to start.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Tests with real processes share the machine with whatever else runs there; a defect fails
    // every time.
    retry: process.env.CI === undefined ? 0 : 2,
  },
})
