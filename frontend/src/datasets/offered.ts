/** What encoders and detectors have in common where one is chosen. */
export interface Offered {
  name: string;
  title: string;
  description: string;
  available: boolean;
  /** Why it cannot be used, or "". */
  reason: string;
  is_default: boolean;
  is_recommended: boolean;
}
