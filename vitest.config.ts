import { defineConfig } from 'vitest/config'

const source = (path: string): string => new URL(path, import.meta.url).pathname

export default defineConfig({
  resolve: { alias: { 'nbd-client-ts': source('src/vendor/nbd-client-ts/src/index.ts') } },
  test: {
    include: ['test/**/*.test.ts', 'src/vendor/*/test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
  },
})
