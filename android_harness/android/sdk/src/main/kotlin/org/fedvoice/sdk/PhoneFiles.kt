package org.fedvoice.sdk

import android.content.Context
import java.io.File

/** Where the library keeps what: all of it in the app's own, private storage. */
internal class PhoneFiles(context: Context) {
    val root = File(context.noBackupFilesDir, "fedvoice")

    /** Key, certificates and the server's address. */
    val identity = File(root, "identity")

    /** The phone's random name towards the server. */
    val clientId = File(root, "client_id")

    /** Assignment, checkpoint and the update that was not sent yet. */
    val session = File(root, "session")

    /** Programs and models, as fetched. */
    val blobs = File(root, "blobs")

    /** When the next contact is, and whose wish that is. */
    val pacing = File(root, "pacing.json")
    val examples = File(root, "examples.sqlite")
    val books = File(root, "books.json")

    /** What was sent and received, session by session. */
    val sessions = File(root, "sessions.jsonl")

    /** There while the person agrees. */
    val consent = File(root, "consent")

    /** One session at a time: of this process, and of the app's others. */
    val lock = File(root, "session.lock")

    /** Where `fedvoice deploy` puts files for the app; only adb and the app reach it. */
    val deployed: File? = context.getExternalFilesDir("fedvoice_deploy")
}
