/** The part of fs-ext that we use; the package has no types of its own. Errors carry `code`. */
declare module 'fs-ext' {
  export function flockSync(fd: number, operation: 'shnb' | 'exnb'): void
  /** lseek(2); returns the new position (bytes). */
  export function seekSync(fd: number, offset: number, whence: number): number
}
