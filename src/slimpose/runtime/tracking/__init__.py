"""People told apart from frame to frame: who is who (association, tracks), where they will be, smooth joints."""
