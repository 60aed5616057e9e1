package elevenlabs

// DefaultVoice is defaultVoice, for tests.
const DefaultVoice = defaultVoice
