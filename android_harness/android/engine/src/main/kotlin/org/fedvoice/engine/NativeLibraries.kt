package org.fedvoice.engine

import java.io.File

/**
 * Loads ExecuTorch's native library, once a process.
 *
 * It must come before fbjni, which it pulls in itself: with fbjni first, every native error ends
 * the process, because the two carry different copies of the C++ runtime's exception tables.
 */
object NativeLibraries {
    /** Names the folder with `libs/` on a desktop; not set on Android. */
    const val FOLDER_PROPERTY: String = "fedvoice.natives"
    private var loaded = false

    /** Load what is not loaded yet. On a desktop `java.library.path` must hold `libs/`. */
    @Synchronized
    fun load() {
        if (loaded) return
        System.getProperty(FOLDER_PROPERTY)?.let { folder ->
            // Keeps the stand-ins for bionic's libraries apart from the desktop's own libc.
            System.load(File(folder, "libs/libdeepbind.so").absolutePath)
        }
        System.loadLibrary("executorch")
        loaded = true
    }
}
