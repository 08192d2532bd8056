"""`fedvoice deploy`: the app onto phones and emulators, through the real `adb`."""
