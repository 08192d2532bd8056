import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jetbrains.kotlin.abi.tools.AbiTools;
import org.jetbrains.kotlin.abi.tools.api.AbiFilters;

/** Prints the public declarations of a folder of classes, as Kotlin's plugin for Gradle does. */
class Surface {
    public static void main(String[] folder) throws IOException {
        List<File> classes;
        try (var found = Files.walk(Path.of(folder[0]))) {
            classes = found.map(Path::toFile).filter(f -> f.getName().endsWith(".class")).sorted().toList();
        }
        AbiTools.INSTANCE.getV2().printJvmDump(System.out, classes, AbiFilters.Companion.getEMPTY());
    }
}
